"""Who delivers: one actor for each data target, and what it decides by.

`target.py` is the actor, `targets.py` runs them all; everything else here is plain and belongs to one of the two.
"""
