"""An exported model -> scores: each a number with its n and, where it is a share, an interval."""
