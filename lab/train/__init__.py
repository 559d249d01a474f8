"""Training of the mini checkpoint: VAE, text encoders and UNet in SDXL's architecture, from scratch, on
rendered scenes."""
