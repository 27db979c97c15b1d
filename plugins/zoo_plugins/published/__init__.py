"""Published weights of networks whose plugins are modules: `weights.toml` lists them."""
