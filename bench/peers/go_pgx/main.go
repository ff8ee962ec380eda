// Go with pgx: handlers by hand on net/http, JSON built in Postgres.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

const (
	maxBody = 16 << 20
	get     = `SELECT row_to_json(c)::text FROM rest.claims AS c WHERE id = $1`
	newest  = `SELECT * FROM rest.claims ORDER BY created_at DESC, id DESC LIMIT $1`
	list    = `SELECT coalesce(json_agg(c), '[]')::text FROM (` + newest + `) AS c`
	// Each article and source once, as in our `expand`.
	expanded = `
		WITH page AS (` + newest + `), related AS (
			SELECT DISTINCT l.article_id, l.source_id FROM links AS l JOIN page ON page.id = l.owner_id
			WHERE l.owner_type = 'claim'
		)
		SELECT json_build_object(
			'items', (SELECT coalesce(json_agg(page), '[]') FROM page),
			'articles', (
				SELECT coalesce(json_agg(a), '[]') FROM rest.articles AS a
				WHERE id IN (SELECT article_id FROM related)
			),
			'sources', (
				SELECT coalesce(json_agg(s), '[]') FROM rest.sources AS s
				WHERE id IN (SELECT source_id FROM related)
			)
		)::text`
	changes = `
		SELECT coalesce(json_agg(c), '[]')::text FROM (
			SELECT * FROM rest.claims WHERE updated_at > $1 ORDER BY updated_at, id LIMIT $2
		) AS c`
	patch = `
		UPDATE rest.claims AS c SET note = coalesce($3, note), review_status = coalesce($4, review_status)
		WHERE id = $1 AND version = $2 RETURNING row_to_json(c)::text`
)

// A part is JSON that is checked and handed on.
type part = json.RawMessage

type newClaim struct {
	Text           string     `json:"text"`
	Language       *string    `json:"language"`
	Kind           *string    `json:"kind"`
	SpeechAct      *string    `json:"speech_act"`
	Certainty      string     `json:"certainty"`
	Polarity       string     `json:"polarity"`
	Embedding      string     `json:"embedding"`
	ParentClaimID  *string    `json:"parent_claim_id"`
	Attributions   part       `json:"attributions"`
	Appearances    part       `json:"appearances"`
	Quantities     part       `json:"quantities"`
	Parties        part       `json:"parties"`
	Places         part       `json:"places"`
	Stated         part       `json:"stated"`
	Occurred       part       `json:"occurred"`
	Relations      part       `json:"relations"`
	Validity       string     `json:"validity"`
	ReviewStatus   string     `json:"review_status"`
	EmbargoedUntil *time.Time `json:"embargoed_until"`
	Extraction     part       `json:"extraction"`
	Assessments    part       `json:"assessments"`
	ExternalIDs    part       `json:"external_ids"`
	Tags           []string   `json:"tags"`
	Note           *string    `json:"note"`
}

var columns = strings.Fields(`text language kind speech_act certainty polarity embedding
	parent_claim_id attributions appearances quantities parties places stated occurred relations
	validity review_status embargoed_until extraction assessments external_ids tags note`)

func (c *newClaim) values() []interface{} {
	return []interface{}{
		c.Text, c.Language, c.Kind, c.SpeechAct, c.Certainty, c.Polarity, c.Embedding,
		c.ParentClaimID, some(c.Attributions), some(c.Appearances), some(c.Quantities),
		some(c.Parties), some(c.Places), some(c.Stated), some(c.Occurred), some(c.Relations),
		c.Validity, c.ReviewStatus, c.EmbargoedUntil, some(c.Extraction), some(c.Assessments),
		some(c.ExternalIDs), c.Tags, c.Note,
	}
}

// some gives NULL for a JSON null.
func some(given part) interface{} {
	if len(given) == 0 || string(given) == "null" {
		return nil
	}
	return []byte(given)
}

func insert() string {
	places := make([]string, len(columns))
	for place := range columns {
		places[place] = fmt.Sprintf("$%d", place+1)
	}
	return fmt.Sprintf(
		"INSERT INTO rest.claims AS c (%s) VALUES (%s) RETURNING row_to_json(c)::text",
		strings.Join(columns, ", "), strings.Join(places, ", "),
	)
}

type server struct {
	pool   *pgxpool.Pool
	insert string
}

// answer runs a statement that gives JSON, and sends it.
func (s *server) answer(w http.ResponseWriter, r *http.Request, status, absent int, statement string, arguments ...interface{}) {
	var body string
	err := s.pool.QueryRow(r.Context(), statement, arguments...).Scan(&body)
	if errors.Is(err, pgx.ErrNoRows) {
		http.Error(w, "", absent)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, status, body)
}

func send(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	io.WriteString(w, body)
}

func read(w http.ResponseWriter, r *http.Request, into interface{}) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

func (s *server) claims(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		var created newClaim
		if read(w, r, &created) {
			s.answer(w, r, http.StatusCreated, http.StatusNotFound, s.insert, created.values()...)
		}
		return
	}
	s.answer(w, r, http.StatusOK, http.StatusNotFound, list, r.URL.Query().Get("limit"))
}

func (s *server) expanded(w http.ResponseWriter, r *http.Request) {
	s.answer(w, r, http.StatusOK, http.StatusNotFound, expanded, r.URL.Query().Get("limit"))
}

func (s *server) claim(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, "/claims/")
	if r.Method != http.MethodPatch {
		s.answer(w, r, http.StatusOK, http.StatusNotFound, get, id)
		return
	}
	var changed struct {
		Note         *string `json:"note"`
		ReviewStatus *string `json:"review_status"`
	}
	version := strings.Trim(r.Header.Get("If-Match"), `"`)
	if read(w, r, &changed) {
		s.answer(w, r, http.StatusOK, http.StatusPreconditionFailed, patch, id, version, changed.Note, changed.ReviewStatus)
	}
}

func (s *server) changes(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	s.answer(w, r, http.StatusOK, http.StatusNotFound, changes, query.Get("since"), query.Get("limit"))
}

// imports writes plain rows with COPY.
func (s *server) imports(w http.ResponseWriter, r *http.Request) {
	var created []newClaim
	if !read(w, r, &created) {
		return
	}
	rows := pgx.CopyFromSlice(len(created), func(place int) ([]interface{}, error) {
		return created[place].values(), nil
	})
	count, err := s.pool.CopyFrom(r.Context(), pgx.Identifier{"plain", "claims"}, columns, rows)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, http.StatusCreated, fmt.Sprintf(`{"created":%d}`, count))
}

func main() {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	size, err := strconv.Atoi(os.Getenv("POOL"))
	if err != nil {
		log.Fatal(err)
	}
	config.MaxConns, config.MinConns = int32(size), int32(size)
	pool, err := pgxpool.ConnectConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	s := &server{pool, insert()}
	http.HandleFunc("/claims", s.claims)
	http.HandleFunc("/claims/", s.claim)
	http.HandleFunc("/expanded", s.expanded)
	http.HandleFunc("/changes", s.changes)
	http.HandleFunc("/imports", s.imports)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
