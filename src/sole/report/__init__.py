"""What people look at: `sole score`, overlay videos, self-contained pages, pictures of a run."""
