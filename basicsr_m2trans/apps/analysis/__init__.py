"""Looking into trained networks: their layers' features by manifold discovery and analysis (Fig. 6,
docs/mda.md).
"""
