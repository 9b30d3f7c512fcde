"""Comparing methods on one data set: training, evaluation, complexity, tables and figures."""
