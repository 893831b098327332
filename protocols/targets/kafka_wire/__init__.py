"""What the Kafka data target is made of, beside its contract."""
