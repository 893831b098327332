"""Where data targets may be, and how that is seen to: `guard.py` judges, the rest is what it judges by."""
