"""Distributions that are cheap to make and traced as one graph.

torch's own validate and expand in their constructors, which costs as much as a small layer, so these set the two
shapes and nothing else. All densities are natural logs.
"""
