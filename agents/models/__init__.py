"""What a call to a model is: the question, the exchange, its pace and price, and the document read out of it."""
