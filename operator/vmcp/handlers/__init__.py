"""kopf handlers, one file a kind, a few lines each, and the queue that they fill."""
