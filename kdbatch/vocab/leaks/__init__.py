"""Lists of videos of one data set that show what videos of another show."""
