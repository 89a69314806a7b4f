// SPDX-License-Identifier: MIT
// What heapctl's start is held against: allocate a buffer and say so.
#include <fcntl.h>
#include <linux/dma-heap.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	struct dma_heap_allocation_data data = {
		.len = 4096,
		.fd_flags = O_RDWR | O_CLOEXEC,
	};
	int heap = open(argc > 1 ? argv[1] : "", O_RDONLY | O_CLOEXEC);

	if (heap < 0 || ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data) < 0) {
		perror("alloc");
		return 1;
	}
	printf("descriptor %u\n", data.fd);
	return 0;
}
