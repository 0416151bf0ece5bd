// Command peer is the counterpart that the overlay is tested against: bitswap, UnixFS and block service as Kubo has
// them, from the libraries Kubo is made of, in a libp2p host of their own.
//
//	peer add [-cid-version=0] FILE...   adds the files as `ipfs add` does; prints a CID each, then the address served
//	                                    from; serves until stdin closes
//	peer get CID MULTIADDR OUT          fetches a file by bitswap from the peer there, and nobody else
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	unixfs "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/sync"
	format "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

const usage = "usage: peer add [-cid-version=0] FILE... | peer get CID MULTIADDR OUT"

// `ipfs add`'s defaults, spelt out: the test compares CIDs made with them.
const (
	chunkBytes   = 256 << 10
	linksPerNode = 174
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	node, err := newNode(ctx)
	if err != nil {
		return err
	}
	switch {
	case len(args) >= 2 && args[0] == "add":
		flags := flag.NewFlagSet("add", flag.ContinueOnError)
		version := flags.Uint("cid-version", 1, "0 wraps the leaves in UnixFS, 1 leaves them raw")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return node.serve(ctx, *version, flags.Args())
	case len(args) == 4 && args[0] == "get":
		return node.get(ctx, args[1], args[2], args[3])
	default:
		return errors.New(usage)
	}
}

// node is a host that speaks bitswap over an in-memory block store.
type node struct {
	host host.Host
	dag  format.DAGService
}

func newNode(ctx context.Context) (*node, error) {
	host, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
	)
	if err != nil {
		return nil, err
	}
	blocks := blockstore.NewBlockstore(sync.MutexWrap(datastore.NewMapDatastore()))
	// No routing: who is connected is who is asked.
	exchange := bitswap.New(ctx, bsnet.NewFromIpfsHost(host), nil, blocks)
	return &node{host, merkledag.NewDAGService(blockservice.New(blocks, exchange))}, nil
}

func (n *node) serve(ctx context.Context, version uint, files []string) error {
	for _, name := range files {
		root, err := n.add(ctx, version, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Println(root)
	}
	addrs, err := peer.AddrInfoToP2pAddrs(host.InfoFromHost(n.host))
	if err != nil {
		return err
	}
	fmt.Println(addrs[0])
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (n *node) add(ctx context.Context, version uint, name string) (cid.Cid, error) {
	prefix, err := merkledag.PrefixForCidVersion(int(version))
	if err != nil {
		return cid.Undef, err
	}
	file, err := os.Open(name)
	if err != nil {
		return cid.Undef, err
	}
	defer file.Close()
	batch := format.NewBufferedDAG(ctx, n.dag)
	params := helpers.DagBuilderParams{
		Dagserv:    batch,
		Maxlinks:   linksPerNode,
		RawLeaves:  version > 0,
		CidBuilder: &prefix,
	}
	builder, err := params.New(chunk.NewSizeSplitter(file, chunkBytes))
	if err != nil {
		return cid.Undef, err
	}
	root, err := balanced.Layout(builder)
	if err != nil {
		return cid.Undef, err
	}
	return root.Cid(), batch.Commit()
}

func (n *node) get(ctx context.Context, root, from, out string) error {
	id, err := cid.Decode(root)
	if err != nil {
		return err
	}
	addr, err := multiaddr.NewMultiaddr(from)
	if err != nil {
		return err
	}
	source, err := peer.AddrInfoFromP2pAddr(addr)
	if err != nil {
		return err
	}
	if err := n.host.Connect(ctx, *source); err != nil {
		return err
	}
	session := merkledag.NewSession(ctx, n.dag)
	node, err := session.Get(ctx, id)
	if err != nil {
		return err
	}
	content, err := unixfs.NewDagReader(ctx, node, session)
	if err != nil {
		return err
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		return err
	}
	return file.Close()
}
