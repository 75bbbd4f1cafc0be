"""Several processes of one gateway on one machine: who starts them, and what they tell each other."""
