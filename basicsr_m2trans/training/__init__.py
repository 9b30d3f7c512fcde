"""How a training run begins, new or resumed."""
