package etl

import "context"

// Two of Run's stages by themselves, so that each can be measured without the other (test/bench).

// Protected is a batch of events that are sealed and not yet loaded.
type Protected struct{ batch *batch }

// Size is how many bytes of COPY text the batch is.
func (b *Protected) Size() int { return len(b.batch.rows) + len(b.batch.rejections) }

// Release gives the batch's buffers back for others. The batch is not used afterwards.
func (b *Protected) Release() { b.batch.release() }

// Protector is Run's middle: it decodes, makes tokens and seals. It is not for concurrent use.
type Protector struct{ protector *protector }

// NewProtector makes a protector over a writer, which others may share.
func NewProtector(w *Writer) *Protector { return &Protector{newProtector(w)} }

// Protect turns messages into a batch; what cannot be stored is in it as a rejection.
func (p *Protector) Protect(ctx context.Context, messages []*Message) (*Protected, error) {
	b, err := p.protector.protect(ctx, messages, nothingRefused)
	if err != nil {
		return nil, err
	}
	return &Protected{b}, nil
}

// Loader is Run's end: one database connection that loads batches. It is not for concurrent use.
type Loader struct{ loader *loader }

// NewLoader makes a loader, which connects at its first batch. Close it.
func NewLoader(w *Writer) *Loader { return &Loader{&loader{vault: w.vault}} }

// Load commits a batch once. Unlike Run it does not try again, whatever the error.
func (l *Loader) Load(ctx context.Context, b *Protected) (Counts, error) {
	return l.loader.load(ctx, b.batch)
}

// Close ends the connection.
func (l *Loader) Close() { l.loader.close() }
