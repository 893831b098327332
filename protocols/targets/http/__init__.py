"""How the hub speaks HTTP to receivers: what every kind of target that is reached so shares."""
