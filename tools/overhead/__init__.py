"""What the harness costs: the same training through depthbench and in a plain PyTorch loop."""
