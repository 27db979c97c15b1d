"""The fair benchmark: equal budgets, one process per trial, metrics, throughput, tables."""
