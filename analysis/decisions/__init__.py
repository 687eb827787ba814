"""What deciding by the model gains: net benefit, prediction sets, operating points, reject options."""
