"""Training away from home: what is missing, in slices, on a machine without DVC, and bundles that bring it back."""
