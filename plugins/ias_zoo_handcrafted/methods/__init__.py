"""What this plugin says about its methods, without importing them."""
