"""What the FIWARE data target is made of, beside its contract."""
