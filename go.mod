module github.com/dmaheap/dmaheap

go 1.22

require (
	github.com/google/go-cmp v0.6.0
	github.com/prometheus/common v0.55.0 // tests only
	github.com/santhosh-tekuri/jsonschema/v5 v5.3.1 // tests only
	github.com/spf13/cobra v1.9.1
	github.com/spf13/pflag v1.0.6
	github.com/u-root/u-root v0.14.0 // tests only
	golang.org/x/sys v0.30.0
	gopkg.in/yaml.v3 v3.0.1
)

require (
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/kr/pretty v0.3.1 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/pierrec/lz4/v4 v4.1.14 // indirect
	github.com/prometheus/client_model v0.6.1 // indirect
	github.com/u-root/uio v0.0.0-20240209044354-b3d14b93376a // indirect
	google.golang.org/protobuf v1.34.2 // indirect
)
