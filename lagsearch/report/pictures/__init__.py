"""Pictures of the numbers, in the browser and on paper."""
