"""Trained networks' features by manifold discovery and analysis (Fig. 6, docs/mda.md)."""
