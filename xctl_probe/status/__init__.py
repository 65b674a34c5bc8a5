"""The probe's own figures: counted by the loop, answered through a unix socket."""
