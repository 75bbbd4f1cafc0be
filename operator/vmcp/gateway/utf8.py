"""Whether a body is text at all. JSON is UTF-8; a decoder that skips a member does not look."""


def is_utf8(body: bytes) -> bool:
    """Whether the bytes are UTF-8; nearly free where they are ASCII."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
