"""Images to match: what a job says about them, and what is rendered to be compared with them."""
