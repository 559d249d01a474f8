"""The denoising trajectory from noise to a clean latent."""
