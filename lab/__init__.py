"""The science bench: rendered scenes with ground truth, training, metrics, evaluation."""
