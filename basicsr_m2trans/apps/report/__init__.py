"""Comparing methods on one data set: training under one budget, evaluation, complexity, tables and
figures.
"""
