"""Diagnosis of trained models: findings from measured numbers, each with a remedy."""
