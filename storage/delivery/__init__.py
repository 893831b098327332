"""What is kept of deliveries: the outbox, what became of attempts, and what people may do with the rest.

`outbox.py` is what the actors of data targets speak to; pulling, dead letters and replays stand beside it.
"""
