"""What a trained run looks like: its pictures and its summary."""
