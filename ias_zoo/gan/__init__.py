"""What plugins with adversarial training share: losses, penalties, augmentation, averages, layers, StyleGAN2."""
