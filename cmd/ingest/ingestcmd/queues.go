package ingestcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"cloakroom/etl"
	"cloakroom/etl/unwrap"
	"cloakroom/internal/cli"
	"cloakroom/internal/objects"
	"cloakroom/internal/queue"
	"cloakroom/keys"
)

// feed is what the settings say of one queue, or of the file or the Lambda calls in its place.
type feed struct {
	name    string // in logs, metrics and the summary
	url     string
	dataset string
	route   etl.Route
	unwrap  []unwrap.Kind // empty: each message's body is an event
	buckets []string
}

// feedKeys are what an entry of --queue may say behind the URL, and how.
var feedKeys = map[string]func(f *feed, value string) error{
	"dataset": func(f *feed, value string) error { f.dataset = value; return nil },
	"route": func(f *feed, value string) (err error) {
		f.route, err = etl.ParseRoute(value)
		return err
	},
	"unwrap": func(f *feed, value string) (err error) {
		f.unwrap, err = unwrap.ParseLayers(value)
		return err
	},
	"s3-buckets": func(f *feed, value string) error {
		f.buckets = strings.Split(value, ",")
		if slices.Contains(f.buckets, "") {
			return errors.New("s3-buckets: want names with commas between them")
		}
		return nil
	},
}

// parseFeed reads an entry of --queue: URL KEY=VALUE…
func parseFeed(text string) (feed, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return feed{}, errors.New("want URL KEY=VALUE…")
	}
	f := feed{url: words[0]}
	if at, err := url.Parse(f.url); err != nil || at.Host == "" {
		return f, fmt.Errorf("want the URL of a queue before all else, not %q", f.url)
	}
	given := map[string]bool{}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		set, known := feedKeys[key]
		switch {
		case !known:
			return f, fmt.Errorf("%q: a queue has %s, each with = and a value", word,
				strings.Join(slices.Sorted(maps.Keys(feedKeys)), ", "))
		case value == "":
			return f, fmt.Errorf("%s has no value", key)
		case given[key]:
			return f, fmt.Errorf("%s is given twice", key)
		}
		given[key] = true
		if err := set(&f, value); err != nil {
			return f, err
		}
	}
	return f, f.check()
}

// check refuses what would be ignored, and pointers that nothing could follow.
func (f *feed) check() error {
	reads := slices.Contains(f.unwrap, unwrap.S3)
	switch {
	case reads && len(f.buckets) == 0:
		return errors.New("unwrap=s3 needs s3-buckets: the buckets into which messages may point")
	case len(f.buckets) > 0 && !reads && !slices.Contains(f.unwrap, unwrap.Auto):
		return errors.New("s3-buckets means nothing without unwrap=s3 or unwrap=auto")
	}
	return nil
}

func checkFeed(text string) error {
	_, err := parseFeed(text)
	return err
}

// single is what the flags say without --queue.
func (s *settings) single() (feed, error) {
	f := feed{url: s.queueURL, dataset: s.dataset, buckets: s.buckets}
	f.route, _ = etl.ParseRoute(s.route) // the flag's check has read it
	f.name = queueName(f.url)
	if len(s.unwrap) > 0 {
		var err error
		if f.unwrap, err = unwrap.ParseLayers(strings.Join(s.unwrap, ",")); err != nil {
			return f, fmt.Errorf("reading --unwrap: %w", err)
		}
	}
	return f, f.check()
}

// feeds are the queues to read.
func (s *settings) feeds() ([]feed, error) {
	if len(s.queues) == 0 {
		f, err := s.single()
		return []feed{f}, err
	}
	for _, set := range []struct{ flag, value string }{
		{"queue-url", s.queueURL}, {"dataset", s.dataset}, {"route", s.route}, {"unwrap", strings.Join(s.unwrap, ",")},
		{"s3-buckets", strings.Join(s.buckets, ",")},
	} {
		if set.value != "" {
			return nil, fmt.Errorf("both --queue and --%s are set: with --queue, each queue says it for itself "+
				"(URL dataset=NAME unwrap=sns)", set.flag)
		}
	}
	if s.maxHeld/len(s.queues) < leastHeld {
		return nil, fmt.Errorf("--max-in-flight %d is less than %d for each of %d queues", s.maxHeld, leastHeld,
			len(s.queues))
	}
	var feeds []feed
	for _, text := range s.queues {
		f, err := parseFeed(text)
		if err != nil {
			return nil, fmt.Errorf("reading --queue %q: %w", text, err)
		}
		feeds = append(feeds, f)
	}
	return feeds, nameFeeds(feeds)
}

// leastHeld is one receive, in messages.
const leastHeld = 10

// queueName is the last part of a queue's URL.
func queueName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// nameFeeds names each queue, by its URL where two have one name.
func nameFeeds(feeds []feed) error {
	count, seen := map[string]int{}, map[string]bool{}
	for i := range feeds {
		if seen[feeds[i].url] {
			return fmt.Errorf("the queue %s is named twice", feeds[i].url)
		}
		seen[feeds[i].url] = true
		count[queueName(feeds[i].url)]++
	}
	for i := range feeds {
		f := &feeds[i]
		if f.name = queueName(f.url); count[f.name] > 1 {
			f.name = f.url
		}
	}
	return nil
}

// queueConfig: what may be held is shared out evenly, so that a queue whose deletes fail, and which fills its share,
// takes nothing from another.
func (s *settings) queueConfig(f feed, of int) queue.Config {
	return queue.Config{
		Attribute: f.route.Attribute,
		URL:       f.url, Wait: s.wait, Visibility: s.visibility,
		MaxHold: s.maxHold, MaxHeld: s.maxHeld / of, MaxBytes: maxHeldBytes / int64(of),
		Deleters: s.deleters, Client: s.sqsClient,
	}
}

// maxHeldBytes bounds the bodies held, of all queues together: message bodies as received.
const maxHeldBytes = 256 << 20

// newWriter reads the vault's state and unwraps the index key, for the datasets of these queues.
func newWriter(ctx context.Context, v *keys.Vault, feeds []feed, caps keys.Caps) (*etl.Writer, error) {
	if err := nameDatasets(ctx, v, feeds); err != nil {
		return nil, err
	}
	var names []string
	for _, f := range feeds {
		if f.route != (etl.Route{}) {
			// All datasets of the vault, also those that are applied later. What names none is the queue's own
			// default's.
			standard := ""
			if len(feeds) == 1 {
				standard = f.dataset
			}
			return etl.NewRoutingWriter(ctx, v, standard, etl.Route{}, caps)
		}
		if f.dataset != "" && !slices.Contains(names, f.dataset) {
			names = append(names, f.dataset)
		}
	}
	return etl.NewWriter(ctx, v, names, caps)
}

// nameDatasets names the dataset of each of several queues: the writer's default is another queue's.
func nameDatasets(ctx context.Context, v *keys.Vault, feeds []feed) error {
	if len(feeds) == 1 {
		return nil
	}
	for i := range feeds {
		f := &feeds[i]
		if f.dataset != "" || f.route != (etl.Route{}) {
			continue
		}
		list, err := v.Datasets(ctx)
		if err != nil {
			return err
		}
		d, err := list.Find("")
		if err != nil {
			return fmt.Errorf("queue %s: say dataset=NAME: %w", f.name, err)
		}
		f.dataset = d.Name
	}
	return nil
}

// readsObjects reports whether any of the queues reads bodies out of S3.
func readsObjects(feeds []feed) bool {
	return slices.ContainsFunc(feeds, func(f feed) bool { return len(f.buckets) > 0 })
}

// maxFetches is how many bodies are read out of S3 at once, for all queues together.
const maxFetches = 16

// inputs are sources of these feeds, in their order. store reads bodies out of S3; it may be nil where none does.
func (s *settings) inputs(feeds []feed, store *objects.Client, sources ...etl.Source) []etl.Input {
	var inputs []etl.Input
	for i := range feeds {
		f := &feeds[i]
		in := etl.Input{Name: f.name, Source: sources[i], Dataset: f.dataset, Route: f.route}
		if len(f.unwrap) > 0 {
			in.Unwrap = &etl.Unwrap{
				Layers: f.unwrap, MaxBody: int(s.maxBody), Buckets: f.buckets, Fetches: max(2, maxFetches/len(feeds)),
			}
			if store != nil {
				in.Unwrap.Objects = store
			}
		}
		inputs = append(inputs, in)
	}
	return inputs
}

// openObjects prepares the client of S3, if a queue needs it; nil: none does.
func openObjects(ctx context.Context, feeds []feed) (*objects.Client, error) {
	if !readsObjects(feeds) {
		return nil, nil
	}
	return objects.Open(ctx)
}

// describe says what a queue's events are, for logs and ingest check.
func (f feed) describe(standard string) string {
	text := "dataset " + cmp.Or(f.dataset, standard)
	switch {
	case f.route.Member != "":
		text = "datasets by the member " + f.route.Member
	case f.route.Attribute != "":
		text = "datasets by the message attribute " + f.route.Attribute
	}
	if len(f.unwrap) > 0 {
		text += ", unwrapped from " + unwrap.Format(f.unwrap)
	}
	return text
}

// where names a queue in front of what is said of it, where there are several.
func (f feed) where(of int) string {
	if of == 1 {
		return "queue"
	}
	return "queue " + f.name
}

// queueFlags declares the queues and what their events are.
func (s *settings) queueFlags(f cli.Flags) {
	f.String(&s.queueURL, "queue-url", "", "URL of the SQS queue")
	f.Each(&s.queues, "queue", "a queue, where there are several: URL KEY=VALUE…, with the keys dataset, route, "+
		"unwrap and s3-buckets, which mean what the flags do; repeat it, or set semicolons between the queues", checkFeed)
	f.String(&s.dataset, "dataset", "", "the events' dataset; empty: the vault's only one. With --route: the dataset of "+
		"the rejections of events that name none; empty: the first by name")
	f.Check(&s.route, "route", "how events of several datasets are told apart: member:NAME or attribute:NAME, whose "+
		"value is the dataset's name", checkRoute)
	f.List(&s.unwrap, "unwrap", "what the events are wrapped in: "+kindsHelp()+"; with commas, from the outermost in; "+
		"empty: a message's body is the event", checkUnwrap)
	f.List(&s.buckets, "s3-buckets", "the buckets into which messages may point, with --unwrap s3 or auto", nil)
	f.Size(&s.maxBody, "max-body", unwrap.DefaultMaxBody, cli.Between[int64](1<<10, 16<<20),
		"most bytes that an unwrapped event may have")
	f.Bool(&s.deleteObjects, "s3-delete", "delete the object in which an event lay, once its row is committed and its "+
		"message deleted; else it stays in S3, in clear")
}

func kindsHelp() string {
	var names []string
	for _, k := range unwrap.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// checkUnwrap wants a kind of envelope.
func checkUnwrap(text string) error {
	_, err := unwrap.ParseLayers(text)
	return err
}
