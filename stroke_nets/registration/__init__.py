"""Bring a native-space T1w scan to the MNI grid of ATLAS v2.0, and masks back."""
