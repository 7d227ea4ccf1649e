"""What a training run takes on borrowed GPUs: memory, time, money, energy."""
