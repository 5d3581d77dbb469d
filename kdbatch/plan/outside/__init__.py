"""What other trainers made: experiments whose runs they make, and files of teachers."""
