"""Kernel source for kernels without BTF, compiled on the host by the distribution's bcc."""
