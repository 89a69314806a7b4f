# SPDX-License-Identifier: MIT

include $(sort $(wildcard $(BR2_EXTERNAL_DMAHEAP_PATH)/package/*/*.mk))
