"""What is wrong with a trained model, in words, and the line that mends it: it only reads what was measured."""
