"""The cards of the built-in methods, one Markdown file each; installed so that the cards of weights can quote them."""
