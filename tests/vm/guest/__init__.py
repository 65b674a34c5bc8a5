"""What runs inside the guest, as root, on the kernel under test."""
