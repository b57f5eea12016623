"""Stage 4: hypotheses -> accuracies with intervals and tests, evidence recall, and what a benchmark gives away."""
