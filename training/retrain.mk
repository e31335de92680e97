# What a shipped model is made from, in order. Called by `make retrain MODEL=hull DATA=../shared/data`.
# MINUTES=1 ends every stage after a minute of training, which shows that the chain works and teaches nobody much; SENTENCES=200 has
# so few translated for a later stage, and each export compare so few, which such models take long over: they do not know when to stop.
BIN  ?= .venv/bin
RUNS ?= runs
DATA ?= ../shared/data

FROM    := $(RUNS)/data
BUNDLES := $(RUNS)/bundles
PAIRS   := $(FROM)/distilled
LIMIT     := $(if $(SENTENCES),--limit $(SENTENCES))
NEVER     := $(foreach part,val test_2016_flickr test_2017_flickr,--held-back $(FROM)/multi30k/$(part).en.gz)
HELD_BACK := --held-back $(FROM)/multi30k/train.en.gz $(NEVER)

.PRECIOUS: $(RUNS)/%/averaged.pt $(BUNDLES)/%/1/manifest.json
.DELETE_ON_ERROR:

bundle: $(BUNDLES)/$(MODEL)/1/manifest.json

# A later stage begins with the weights of an earlier one, or learns what another model wrote.
$(RUNS)/hull/averaged.pt: $(RUNS)/hull-small/averaged.pt
$(RUNS)/tour/averaged.pt: $(RUNS)/tour-small/averaged.pt
$(RUNS)/captioning-en/averaged.pt: $(RUNS)/captioning-en-base/averaged.pt
$(RUNS)/delaunay/averaged.pt: $(RUNS)/delaunay-small/averaged.pt
$(RUNS)/translation-de-en/averaged.pt: $(PAIRS)/flickr8k.en-de.tsv.gz
$(RUNS)/translation-en-fr/averaged.pt: $(RUNS)/translation-en-de/averaged.pt
$(RUNS)/translation-en-fr-resampled/averaged.pt: $(RUNS)/translation-en-fr/averaged.pt
$(RUNS)/translation-en-de-distilled/averaged.pt: $(RUNS)/translation-en-de/averaged.pt $(PAIRS)/flickr8k.en-de.judged.tsv.gz
$(RUNS)/translation-en-de-rewarded/averaged.pt: $(RUNS)/translation-en-de-distilled/averaged.pt
$(RUNS)/translation-en-de-resampled/averaged.pt: $(RUNS)/translation-en-de-distilled/averaged.pt
$(RUNS)/translation-en-de-second/averaged.pt: $(RUNS)/translation-en-de-resampled/averaged.pt
$(RUNS)/translation-en-de-attentive/averaged.pt: $(RUNS)/translation-en-de-resampled/averaged.pt
$(RUNS)/translation-en-de-transformer/averaged.pt: $(RUNS)/translation-en-de-resampled/averaged.pt
$(RUNS)/translation-en-de-ensemble/averaged.pt: $(RUNS)/translation-en-de-transformer/averaged.pt $(RUNS)/translation-en-de-resampled/averaged.pt
$(RUNS)/translation-en-de-student/averaged.pt: $(RUNS)/translation-en-de-transformer/averaged.pt $(PAIRS)/multi30k-flickr8k.en-de.ensemble.tsv.gz
$(RUNS)/translation-en-de-student-tuned/averaged.pt: $(RUNS)/translation-en-de-student/averaged.pt
$(RUNS)/translation-en-de-consistent/averaged.pt: $(RUNS)/translation-en-de-resampled/averaged.pt

# The run folder may hold an interrupted run, which goes on.
$(RUNS)/%/averaged.pt: | $(FROM)
	$(BIN)/beamstep train $* --data $(FROM) --run $(RUNS)/$* --resume $(if $(MINUTES),--minutes $(MINUTES))

$(BUNDLES)/%/1/manifest.json: $(RUNS)/%/averaged.pt
	$(BIN)/beamstep export $(RUNS)/$* --data $(FROM) --output $(BUNDLES) --replace $(if $(SENTENCES),--inputs $(SENTENCES))

$(PAIRS)/flickr8k.en-de.tsv.gz: $(BUNDLES)/translation-en-de/1/manifest.json
	$(BIN)/beamstep distil $(BUNDLES)/translation-en-de --captions $(FROM)/flickr8k/captions.jsonl $(HELD_BACK) $(LIMIT) --output $@

$(PAIRS)/flickr8k.en-de.judged.tsv.gz: $(BUNDLES)/translation-en-de/1/manifest.json $(BUNDLES)/translation-de-en/1/manifest.json
	$(BIN)/beamstep distil $(BUNDLES)/translation-en-de --captions $(FROM)/flickr8k/captions.jsonl $(HELD_BACK) \
	    --reverse $(BUNDLES)/translation-de-en --candidates 8 $(LIMIT) --output $@

$(PAIRS)/multi30k-flickr8k.en-de.ensemble.tsv.gz: $(BUNDLES)/translation-en-de-ensemble/1/manifest.json
	$(BIN)/beamstep distil $(BUNDLES)/translation-en-de-ensemble --source $(FROM)/multi30k/train.en.gz \
	    --captions $(FROM)/flickr8k/captions.jsonl $(NEVER) $(LIMIT) --output $@

# The data folder may be read-only: what is distilled lies beside links into it.
$(FROM):
	mkdir -p $(PAIRS)
	for folder in $(abspath $(DATA))/*/; do ln -sfn $$folder $(FROM)/; done
