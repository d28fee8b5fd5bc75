"""What each part of the recipe is worth: trainings that leave one out, at one small budget."""
