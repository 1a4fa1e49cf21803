"""Accuracies per intent from saved weights, and their statistics over seeds."""
