"""The papers' claims, one small file each: what is claimed, how to try it, the rule that judges."""
