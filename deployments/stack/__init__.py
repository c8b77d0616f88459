"""The local stack: the processes behind ``openbell up`` and ``openbell worker``, and how they are ended in order."""
