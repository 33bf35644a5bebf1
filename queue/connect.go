package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// connect opens one connection to the embedded server or to the cluster.
func (q *Queue) connect(ctx context.Context, name string) (*nats.Conn, jetstream.JetStream, error) {
	o := &q.o
	opts := []nats.Option{
		nats.Name("tarishi " + o.Node + " " + name), nats.MaxReconnects(-1), nats.Timeout(10 * time.Second),
	}
	where, pause := "the embedded NATS server", 100*time.Millisecond
	pings := 5 * time.Second
	if o.Server != nil { // it stands still only when we do
		opts = append(opts, nats.InProcessServer(o.Server))
	} else {
		where, pause = "the NATS cluster at "+strings.Join(o.URLs, ", "), time.Second
		pings = time.Second
		// A frozen server's system still takes connections, and says nothing on them.
		opts = append(opts, nats.Timeout(4*time.Second))
		if o.TLS != nil {
			opts = append(opts, nats.Secure(o.TLS))
		}
		if o.Credentials != "" {
			opts = append(opts, nats.UserCredentials(o.Credentials))
		}
	}
	if o.Cluster {
		opts = append(opts,
			// What could not be sent must fail and be tried again by whoever knows that it
			// still may: a buffer would send it whenever the connection comes back.
			nats.ReconnectBufSize(-1),
			// A server that is gone or frozen without a word is left for another within
			// three to four of these.
			nats.PingInterval(pings), nats.MaxPingsOutstanding(2),
		)
	}
	opts = append(opts, nats.ReconnectWait(pause))
	nc, err := nats.Connect(strings.Join(o.URLs, ","), opts...)
	for tries := 0; err != nil && o.Server == nil; tries++ { // the cluster may come up later than we do
		if tries%10 == 0 {
			q.log.Warn("no connection to "+where+", trying on", "error", tlsWords(err, o.TLS))
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("connect to %s: %w", where, tlsWords(err, o.TLS))
		case <-time.After(pause):
		}
		nc, err = nats.Connect(strings.Join(o.URLs, ","), opts...)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", where, err)
	}
	if err := knownServer(nc.ConnectedServerVersion()); err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("%s: %w", where, err)
	}
	if most := nc.MaxPayload(); most < maxRecord {
		nc.Close()
		return nil, nil, fmt.Errorf("%s takes messages of %d octets at most; set max_payload to %d or more in its configuration", where, most, maxRecord)
	}
	patience := o.Patience
	if o.Cluster {
		patience = publishTry
	}
	js, err := jetstream.New(nc,
		// Our own byte budget bounds what is on its way; this must never be the bound.
		jetstream.WithPublishAsyncMaxPending(1<<17),
		jetstream.WithPublishAsyncTimeout(patience))
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
}

// tlsWords says what it means when a server that wants TLS is dialled without: the client
// begins it all the same, with the system's authorities.
func tlsWords(err error, conf *tls.Config) error {
	var verify *tls.CertificateVerificationError
	if conf == nil && (errors.As(err, &verify) || errors.Is(err, nats.ErrSecureConnRequired)) {
		return fmt.Errorf("the cluster uses TLS, and this node has no certificates: set cluster.tls (%w)", err)
	}
	return err
}

// oldestServer is the first NATS that groups the fsyncs of replicated streams and
// sends a job only after a majority knows who has it.
var oldestServer = [3]int{2, 15, 2}

func knownServer(version string) error {
	var v [3]int
	core, _, _ := strings.Cut(version, "-")
	for i, s := range strings.SplitN(core, ".", 3) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("NATS server of version %q; %s or later is needed", version, dotted(oldestServer))
		}
		v[i] = n
	}
	for i := range v {
		if v[i] != oldestServer[i] {
			if v[i] > oldestServer[i] {
				return nil
			}
			return fmt.Errorf("NATS server of version %s; upgrade it to %s or later", version, dotted(oldestServer))
		}
	}
	return nil
}

func dotted(v [3]int) string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }
